"""Examples that need no download: drawn shapes, handwritten digits, canvases of them, and rendered frames."""
