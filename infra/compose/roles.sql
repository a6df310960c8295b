-- To be run by a superuser in Slipway's database, again after an upgrade that brings new services.
-- Then give each role a password: \password slipway_owner, and so on.
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'slipway_owner') THEN CREATE ROLE slipway_owner LOGIN; END IF; END $$;
GRANT slipway_owner TO CURRENT_USER;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'slipway_file_store') THEN CREATE ROLE slipway_file_store LOGIN; END IF; END $$;
CREATE SCHEMA IF NOT EXISTS file_store AUTHORIZATION slipway_owner;
GRANT USAGE ON SCHEMA file_store TO slipway_file_store;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA file_store TO slipway_file_store;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA file_store TO slipway_file_store;
ALTER DEFAULT PRIVILEGES FOR ROLE slipway_owner IN SCHEMA file_store GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO slipway_file_store;
ALTER DEFAULT PRIVILEGES FOR ROLE slipway_owner IN SCHEMA file_store GRANT USAGE, SELECT ON SEQUENCES TO slipway_file_store;

DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'slipway_embedding') THEN CREATE ROLE slipway_embedding LOGIN; END IF; END $$;
CREATE SCHEMA IF NOT EXISTS embedding AUTHORIZATION slipway_owner;
GRANT USAGE ON SCHEMA embedding TO slipway_embedding;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA embedding TO slipway_embedding;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA embedding TO slipway_embedding;
ALTER DEFAULT PRIVILEGES FOR ROLE slipway_owner IN SCHEMA embedding GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO slipway_embedding;
ALTER DEFAULT PRIVILEGES FOR ROLE slipway_owner IN SCHEMA embedding GRANT USAGE, SELECT ON SEQUENCES TO slipway_embedding;

DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'slipway_inference') THEN CREATE ROLE slipway_inference LOGIN; END IF; END $$;
CREATE SCHEMA IF NOT EXISTS inference AUTHORIZATION slipway_owner;
GRANT USAGE ON SCHEMA inference TO slipway_inference;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA inference TO slipway_inference;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA inference TO slipway_inference;
ALTER DEFAULT PRIVILEGES FOR ROLE slipway_owner IN SCHEMA inference GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO slipway_inference;
ALTER DEFAULT PRIVILEGES FOR ROLE slipway_owner IN SCHEMA inference GRANT USAGE, SELECT ON SEQUENCES TO slipway_inference;

DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'slipway_planner') THEN CREATE ROLE slipway_planner LOGIN; END IF; END $$;
CREATE SCHEMA IF NOT EXISTS planner AUTHORIZATION slipway_owner;
GRANT USAGE ON SCHEMA planner TO slipway_planner;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA planner TO slipway_planner;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA planner TO slipway_planner;
ALTER DEFAULT PRIVILEGES FOR ROLE slipway_owner IN SCHEMA planner GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO slipway_planner;
ALTER DEFAULT PRIVILEGES FOR ROLE slipway_owner IN SCHEMA planner GRANT USAGE, SELECT ON SEQUENCES TO slipway_planner;

DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'slipway_conversation') THEN CREATE ROLE slipway_conversation LOGIN; END IF; END $$;
CREATE SCHEMA IF NOT EXISTS conversation AUTHORIZATION slipway_owner;
GRANT USAGE ON SCHEMA conversation TO slipway_conversation;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA conversation TO slipway_conversation;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA conversation TO slipway_conversation;
ALTER DEFAULT PRIVILEGES FOR ROLE slipway_owner IN SCHEMA conversation GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO slipway_conversation;
ALTER DEFAULT PRIVILEGES FOR ROLE slipway_owner IN SCHEMA conversation GRANT USAGE, SELECT ON SEQUENCES TO slipway_conversation;
