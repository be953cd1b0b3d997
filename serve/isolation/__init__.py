"""Models in processes of their own: one that crashes, hangs or is being loaded disturbs nobody else."""
