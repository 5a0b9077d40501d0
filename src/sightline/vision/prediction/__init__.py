"""What a trained network says about images, and why; how it is loaded, and how it leaves as a file."""
