"""Who trains, who watches, what is scored and kept, and the command line."""
