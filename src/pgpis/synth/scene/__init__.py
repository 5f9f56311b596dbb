"""A picture of a person: pose, camera and light, the picture that is drawn, and its labels."""
