"""What the live benches share: sessions watched from outside the server, and the pages their figures are written to."""
