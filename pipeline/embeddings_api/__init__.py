"""``pipeline serve --http``: OpenAI's embeddings API over the model that ``serve`` has in memory.

Nothing that is asked is stored, and no URL or path in a request is opened. What needs Starlette
and uvicorn (the extra ``http``) is in ``app`` and ``door``.
"""
