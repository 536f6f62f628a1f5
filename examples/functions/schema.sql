-- The tables, types, constraints and SQL functions that the five example functions work on.
-- One client.query() runs the whole file.

CREATE EXTENSION IF NOT EXISTS pgcrypto;

-- People and sessions ------------------------------------------------------------------------------------------

CREATE TABLE curators (
  id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email         text NOT NULL,
  password_hash text NOT NULL,
  name          text,
  mfa_secret    bytea,
  verified      boolean NOT NULL DEFAULT false,
  verify_token  bytea,
  created_at    timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT curators_email_key UNIQUE (email),
  CONSTRAINT curators_email_form CHECK (email LIKE '%_@_%')
);

CREATE TABLE sessions (
  token_hash bytea PRIMARY KEY,
  curator_id uuid NOT NULL REFERENCES curators ON DELETE CASCADE,
  mfa_passed boolean NOT NULL DEFAULT false,
  ip         inet,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL
);

CREATE TABLE login_attempts (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email        text NOT NULL,
  ip           inet,
  attempted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX login_attempts_recent ON login_attempts (email, attempted_at);

CREATE TABLE clients (
  id                  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  curator_id          uuid REFERENCES curators,
  name                text NOT NULL,
  phone               text,
  pin_hash            text,
  pin_failures        int NOT NULL DEFAULT 0,
  weight              numeric(6, 2),
  birth_date          date,
  tags                text[] NOT NULL DEFAULT '{}',
  friends             uuid[] NOT NULL DEFAULT '{}',
  profile             jsonb NOT NULL DEFAULT '{}',
  active              boolean NOT NULL DEFAULT true,
  subscription_status text NOT NULL DEFAULT 'trial',
  credits             int NOT NULL DEFAULT 0,
  created_at          timestamptz NOT NULL DEFAULT now(),
  updated_at          timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT clients_subscription_status CHECK (subscription_status IN ('trial', 'active', 'read_only', 'canceled')),
  CONSTRAINT clients_credits_not_negative CHECK (credits >= 0)
);
CREATE UNIQUE INDEX clients_phone_active ON clients (phone) WHERE active;

-- What clients keep --------------------------------------------------------------------------------------------

CREATE TABLE client_kv (
  client_id  uuid NOT NULL REFERENCES clients ON DELETE CASCADE,
  key        text NOT NULL,
  value      jsonb,
  revision   bigint NOT NULL DEFAULT 1,
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT client_kv_pkey PRIMARY KEY (client_id, key)
);

CREATE TABLE days (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  client_id  uuid NOT NULL REFERENCES clients ON DELETE CASCADE,
  day        date NOT NULL,
  kcal       numeric,
  water_ml   int,
  meals      jsonb NOT NULL DEFAULT '[]',
  done       boolean NOT NULL DEFAULT false,
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT days_client_day UNIQUE (client_id, day)
);

CREATE TABLE notes (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  client_id  uuid NOT NULL REFERENCES clients ON DELETE CASCADE,
  body       bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE shared_products (
  id             uuid PRIMARY KEY,
  fingerprint    text NOT NULL,
  name           text NOT NULL,
  brand          text,
  barcode        text,
  kcal100        numeric,
  protein100     numeric,
  fat100         numeric,
  good_fat100    numeric,
  trans_fat100   numeric,
  carbs100       numeric,
  simple100      numeric,
  complex100     numeric,
  fiber100       numeric,
  sugar100       numeric,
  salt100        numeric,
  sodium100      numeric,
  gi             int,
  harm           numeric,
  nova_group     int,
  portion_g      numeric,
  tags           text[],
  extra          jsonb,
  is_public      boolean NOT NULL DEFAULT true,
  created_by     uuid,
  updated_at     timestamptz,
  CONSTRAINT shared_products_fingerprint UNIQUE (fingerprint)
);

CREATE TABLE audit_log (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  action     text NOT NULL,
  client_id  uuid,
  ip         inet,
  detail     jsonb,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- Leads and payments -------------------------------------------------------------------------------------------

CREATE TABLE leads (
  id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name        text NOT NULL,
  phone       text NOT NULL,
  messenger   text,
  utm         jsonb,
  ip          inet,
  repeats     int NOT NULL DEFAULT 0,
  notified_at timestamptz,
  created_at  timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT leads_phone_key UNIQUE (phone)
);

CREATE TABLE payments (
  id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  client_id   uuid NOT NULL REFERENCES clients,
  provider_id text UNIQUE,
  plan        text NOT NULL,
  amount      numeric(10, 2) NOT NULL,
  refunded    numeric(10, 2) NOT NULL DEFAULT 0,
  status      text NOT NULL DEFAULT 'pending',
  meta        jsonb NOT NULL DEFAULT '{}',
  paid_at     timestamptz,
  created_at  timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT payments_amount_positive CHECK (amount > 0),
  CONSTRAINT payments_refund_within CHECK (refunded <= amount),
  CONSTRAINT payments_status CHECK (status IN ('pending', 'succeeded', 'canceled', 'refunded'))
);

CREATE TABLE payment_events (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  provider_id text NOT NULL,
  event       text NOT NULL,
  body        jsonb NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT payment_events_once UNIQUE (provider_id, event)
);

CREATE TABLE subscriptions (
  client_id     uuid PRIMARY KEY REFERENCES clients,
  plan          text NOT NULL,
  started_at    timestamptz NOT NULL,
  paid_until    timestamptz NOT NULL
);

-- Functions that heys-api-rpc may call -------------------------------------------------------------------------

CREATE FUNCTION get_client_profile(p_client_id uuid)
RETURNS TABLE (id uuid, name text, weight numeric, birth_date date, tags text[], profile jsonb, created_at timestamptz)
LANGUAGE sql STABLE AS $$
  SELECT c.id, c.name, c.weight, c.birth_date, c.tags, c.profile, c.created_at FROM clients c WHERE c.id = p_client_id
$$;

CREATE FUNCTION list_client_days(p_client_id uuid, p_from date, p_to date)
RETURNS TABLE (day date, kcal numeric, water_ml int, done boolean)
LANGUAGE sql STABLE AS $$
  SELECT d.day, d.kcal, d.water_ml, d.done FROM days d
  WHERE d.client_id = p_client_id AND d.day BETWEEN p_from AND p_to ORDER BY d.day
$$;

CREATE FUNCTION create_pending_client(p_name text, p_phone text, p_pin text) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
  new_id uuid;
BEGIN
  IF length(p_pin) < 4 THEN
    RAISE EXCEPTION 'pin_too_short';
  END IF;
  INSERT INTO clients (name, phone, pin_hash) VALUES (p_name, p_phone, crypt(p_pin, gen_salt('bf', 4)))
  RETURNING id INTO new_id;
  RETURN new_id;
END
$$;

CREATE FUNCTION verify_client_pin(p_phone text, p_pin text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  found_client clients;
BEGIN
  SELECT * INTO found_client FROM clients WHERE phone = p_phone AND active FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'client_not_found';
  END IF;
  IF found_client.pin_failures >= 5 THEN
    RAISE EXCEPTION 'pin_locked' USING HINT = 'Ask the curator to unlock it.';
  END IF;
  IF found_client.pin_hash = crypt(p_pin, found_client.pin_hash) THEN
    UPDATE clients SET pin_failures = 0 WHERE id = found_client.id;
    RETURN true;
  END IF;
  UPDATE clients SET pin_failures = pin_failures + 1 WHERE id = found_client.id;
  RETURN false;
END
$$;

CREATE FUNCTION set_subscription_status(p_client_id uuid, p_status text) RETURNS text
LANGUAGE sql AS $$
  UPDATE clients SET subscription_status = p_status, updated_at = now() WHERE id = p_client_id
  RETURNING subscription_status
$$;

CREATE FUNCTION save_client_kv(p_client_id uuid, p_key text, p_value jsonb) RETURNS bigint
LANGUAGE sql AS $$
  INSERT INTO client_kv (client_id, key, value) VALUES (p_client_id, p_key, p_value)
  ON CONFLICT (client_id, key) DO UPDATE
    SET value = excluded.value, revision = client_kv.revision + 1, updated_at = now()
  RETURNING revision
$$;

-- Notes are encrypted with the key that the function set for its session.
CREATE FUNCTION add_note(p_client_id uuid, p_text text) RETURNS bigint
LANGUAGE sql AS $$
  INSERT INTO notes (client_id, body)
  VALUES (p_client_id, pgp_sym_encrypt(p_text, current_setting('heys.encryption_key')))
  RETURNING id
$$;

CREATE FUNCTION list_notes(p_client_id uuid)
RETURNS TABLE (id bigint, note text, created_at timestamptz)
LANGUAGE sql STABLE AS $$
  SELECT n.id, pgp_sym_decrypt(n.body, current_setting('heys.encryption_key')), n.created_at
  FROM notes n WHERE n.client_id = p_client_id ORDER BY n.id
$$;

CREATE FUNCTION spend_credits(p_client_id uuid, p_amount int, p_reason text) RETURNS int
LANGUAGE sql AS $$
  UPDATE clients SET credits = credits - p_amount, updated_at = now() WHERE id = p_client_id RETURNING credits
$$;

CREATE FUNCTION search_products(p_query text, p_limit int, p_exclude uuid[])
RETURNS TABLE (id uuid, name text, kcal100 numeric, gi int)
LANGUAGE sql STABLE AS $$
  SELECT p.id, p.name, p.kcal100, p.gi FROM shared_products p
  WHERE p.is_public AND p.name ILIKE '%' || p_query || '%' AND p.id <> ALL (p_exclude)
  ORDER BY p.name LIMIT p_limit
$$;
