"""Where changes are reviewed: GitHub and GitLab, over their web APIs; nothing here decides a verdict."""
