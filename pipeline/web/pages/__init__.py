"""A module a page: a function ``routes()`` that takes what the page is made with."""
