"""The rules that problems break: one TOML file an area, each rule with its cause and the next step."""
