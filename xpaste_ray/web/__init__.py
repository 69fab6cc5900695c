"""Getting bytes from the web: which addresses are allowed, how fast each host is asked, and what is kept.

Neither pictures nor categories are known here.
"""
