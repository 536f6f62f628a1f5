import js from '@eslint/js'
import globals from 'globals'

export default [
  { ignores: ['build/', 'dist/', 'target/', '**/*.d.ts'] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2022, globals: globals.node },
    rules: {
      // `_` marks a parameter that a signature needs and a body does not.
      'no-unused-vars': ['error', { argsIgnorePattern: '^_', caughtErrors: 'none', ignoreRestSiblings: true }],
    },
  },
  { files: ['**/*.js'], languageOptions: { sourceType: 'commonjs' } },
]
