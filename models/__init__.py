"""The networks and what they need: pure PyTorch and pure data, importable without Ray, FastAPI or Gradio."""
