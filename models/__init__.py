"""Networks, preprocessing and checkpoints; independent of Ray, FastAPI and Gradio."""
