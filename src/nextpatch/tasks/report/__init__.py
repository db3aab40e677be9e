"""The page that shows a run: figures, charts and pictures in one file."""
