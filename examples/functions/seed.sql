-- A little data for tests and the demo: two clients, a month of days, a hundred products.

INSERT INTO curators (id, email, password_hash, name, verified) VALUES
  ('c0000000-0000-4000-8000-000000000001', 'anna@heys.example', crypt('correct horse', gen_salt('bf', 4)), 'Анна', true);

INSERT INTO clients (id, curator_id, name, phone, pin_hash, weight, birth_date, tags, profile, subscription_status, credits)
VALUES
  ('a0000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000001', 'Мария', '+79990000001',
   crypt('1234', gen_salt('bf', 4)), 64.50, '1990-05-17', '{vegetarian,"early bird"}',
   '{"goal": "maintain", "height": 168}', 'active', 10),
  ('a0000000-0000-4000-8000-000000000002', 'c0000000-0000-4000-8000-000000000001', 'O''Brien', '+79990000002',
   crypt('4321', gen_salt('bf', 4)), NULL, NULL, '{}', '{}', 'trial', 0);

INSERT INTO days (client_id, day, kcal, water_ml, meals, done)
SELECT 'a0000000-0000-4000-8000-000000000001', DATE '2025-01-01' + n, 1800 + (n * 37) % 400 + 0.5, 1500 + n * 10,
       jsonb_build_array(jsonb_build_object('name', 'breakfast', 'kcal', 400 + n)), n % 3 = 0
FROM generate_series(0, 29) AS n;

INSERT INTO shared_products (id, fingerprint, name, kcal100, protein100, fat100, carbs100, gi, tags, updated_at)
SELECT ('b0000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, md5(n::text), 'Product ' || n, n * 3.5, n % 30,
       n % 20, n % 70, 20 + n % 80, ARRAY['seed', 'n' || n], TIMESTAMPTZ '2025-01-01 00:00:00Z'
FROM generate_series(1, 100) AS n;
