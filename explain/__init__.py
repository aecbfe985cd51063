"""From a query to what one looks at: words, their maps, pictures."""
