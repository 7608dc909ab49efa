"""Networks, preprocessing and checkpoints, without Ray, FastAPI and Gradio."""
