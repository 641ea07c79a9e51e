"""Make what Grafana and Prometheus are given: `grafana/dashboards/*.json` and `grafana/alerts/*.yaml`.

`python -m tools.dashboards` writes them; `--check` only says which differ. Dashboards are made of panels (`panels`,
`board`), one module a dashboard; alerts stand in `alerts`. Nothing is asked of Grafana or Prometheus: tests show that
every expression returns data of a gateway that runs.
"""
