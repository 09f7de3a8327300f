"""The page: the warehouse, the sessions and the requests of a running sandbox, for a browser.

    downloads, parameters, queries, timeline, views → json_api
    json_api, rendering, security → pages

It only reads. All HTML comes from the templates, which escape every value.
"""
