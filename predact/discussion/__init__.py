"""What stands on several claims."""
