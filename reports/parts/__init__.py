"""How findings are drawn: numbers and foreign text, pictures, and the plot of leak over accuracy."""
