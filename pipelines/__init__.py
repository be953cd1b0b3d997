"""What is launched: jobs, schedules, transfers, clusters, the command line."""
