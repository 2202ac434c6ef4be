"""What the commands share: the application, options, tables, the console and its exit codes."""
