// The repository's documents and the blocks of code in them.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { must, root } from './run.mjs'

/** Every Markdown file that git knows or would add. */
export async function documents() {
  const list = ['ls-files', '--cached', '--others', '--exclude-standard', '*.md']
  return (await must('git', list, { print: false })).trim().split('\n')
}

/** The fenced blocks of a file: what stands after the backticks, and the commands, continuation lines joined. */
export function blocks(file) {
  const text = readFileSync(path.join(root, file), 'utf8')
  return [...text.matchAll(/^( *)```(\S[^\n]*)\n([\s\S]*?)^\1```$/gm)].map(([, indent, info, body]) => {
    const code = body.replaceAll(new RegExp(`^${indent}`, 'gm'), '')
    const lines = code.replaceAll(/\\\n\s*/g, '').split('\n')
    return {
      info,
      code,
      lines: lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#')),
    }
  })
}
