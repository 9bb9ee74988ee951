"""Pictures of what networks see and do, and the commands that draw them."""
