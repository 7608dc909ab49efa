"""Jobs: many photos scored in the background. Routes, archives, queue, webhooks. No task is imported."""
