"""The compositing service: composed batches over HTTP.

`served` is what is served, `requests` what may be asked, `bodies` what is answered, `guard` who is let in;
`looks` what a person sees in a browser; `app` puts them together, and `deployment` puts that on Ray Serve.
"""
