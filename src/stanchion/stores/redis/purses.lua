-- Returns some purses whose names begin so, after the cursor at which to go on; that is '0' when all were looked at.
-- ARGV: the cursor, what their keys look like, how many keys to look at.
return redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
