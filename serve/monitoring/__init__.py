"""What is counted and traced for those who watch."""
