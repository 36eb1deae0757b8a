"""The configuration: YAML files as typed models, and the paths of a project."""
