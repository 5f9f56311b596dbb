"""A person: body, garments, hair and skin, as a mesh with colours that can be posed."""
