"""The APIs that callers speak. Where an engine speaks one itself its bytes pass; else chat completions are translated.

Chat completions and completions themselves always pass, by the gateway's own `answer`.
"""
