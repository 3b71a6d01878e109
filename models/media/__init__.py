"""Pictures and clips from files, and MP4 files from frames."""
