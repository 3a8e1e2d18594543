"""How a cell is computed in another process, and kept."""
