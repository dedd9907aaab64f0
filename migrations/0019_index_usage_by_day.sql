CREATE INDEX ASYNC IF NOT EXISTS usage_daily_day ON chats.usage_daily (day)
