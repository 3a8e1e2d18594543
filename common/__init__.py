"""What every room may use: entries and where they are found, the user's own code, files that are whole or absent."""
