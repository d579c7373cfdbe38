/**
 * `npm run vendor`: bundles the libraries that the page imports into `vendor/`, one module for each entry of
 * the import map. They share chunks, so that each library exists once: two copies of Yjs do not work together.
 */

import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = fileURLToPath(new URL('.', import.meta.url))

/** @returns {Record<string, string>} what the page imports, as `index.html` maps it */
export function importMap() {
  const page = readFileSync(join(here, 'index.html'), 'utf8')
  const found = page.match(/<script type="importmap">([\s\S]*?)<\/script>/)
  if (!found) throw new Error('index.html has no import map')
  return JSON.parse(found[1]).imports
}

/** Bundle every entry of the import map. */
export async function bundle() {
  rmSync(join(here, 'vendor'), { recursive: true, force: true })
  const entries = Object.entries(importMap()).map(([name, file]) => ({
    in: name,
    out: file.replace(/^\.\/vendor\//, '').replace(/\.js$/, ''),
  }))
  const { metafile } = await build({
    entryPoints: entries,
    absWorkingDir: here,
    outdir: 'vendor',
    chunkNames: 'shared-[hash]',
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    legalComments: 'linked',
    metafile: true,
    logLevel: 'warning',
  })
  const copies = Object.keys(metafile.inputs).filter((path) => path.includes('node_modules/yjs/'))
  if (copies.length !== 1) throw new Error(`expected one copy of yjs, found ${copies.join(', ')}`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle()
