"""The music server as the box sees it: models, HTTP client, authentication."""
