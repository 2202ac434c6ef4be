"""The public API, one module a verb; `import trm_export` gives each name when it is first used."""
