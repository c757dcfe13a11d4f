"""What is wrong with a connection or a deployment, told without paying anything."""
