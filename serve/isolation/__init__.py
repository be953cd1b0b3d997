"""Models in processes of their own: one that crashes or hangs ends alone, and loading happens beside the others."""
