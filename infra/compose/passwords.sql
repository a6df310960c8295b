-- Passwords for development: no port of the database is open to the outside.
ALTER ROLE slipway_owner PASSWORD 'owner';
ALTER ROLE slipway_conversation PASSWORD 'conversation';
ALTER ROLE slipway_planner PASSWORD 'planner';
ALTER ROLE slipway_file_store PASSWORD 'file-store';
ALTER ROLE slipway_embedding PASSWORD 'embedding';
ALTER ROLE slipway_inference PASSWORD 'inference';
