"""Files that belong to a picture: opening, fitting, drawing, key points, maps, textures and videos."""
