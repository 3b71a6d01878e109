"""Who may come in and how much they may do: credentials, origins and names, limits of one user, slow connections."""
