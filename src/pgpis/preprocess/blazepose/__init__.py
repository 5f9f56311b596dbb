"""BlazePose: key points and silhouette of a person, by Google's nets, which ship with pgpis (Apache-2.0)."""
