CREATE INDEX ASYNC IF NOT EXISTS usage_daily_day ON usage_daily (day)
