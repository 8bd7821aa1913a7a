"""What a CI job is given: summary, annotations, outputs, files; and the steps of the actions and the template."""
