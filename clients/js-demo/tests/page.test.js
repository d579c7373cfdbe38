import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { test } from 'node:test'
import { COLORS } from '../presence.js'
import { importMap } from '../vendor.js'

const here = new URL('..', import.meta.url)
const page = readFileSync(new URL('index.html', here), 'utf8')
const sources = readdirSync(here).filter((name) => name.endsWith('.js') && name !== 'vendor.js')
const styles = readdirSync(here).filter((name) => name.endsWith('.css'))
const read = (/** @type {string} */ name) => readFileSync(new URL(name, here), 'utf8')

test('the policy allows the import map by its hash, and no other inline script or style', () => {
  const map = page.match(/<script type="importmap">([\s\S]*?)<\/script>/)?.[1] ?? ''
  const hash = createHash('sha256').update(map).digest('base64')
  const policy = page.match(/Content-Security-Policy" content="([^"]*)"/)?.[1] ?? ''
  assert.ok(policy.includes(`script-src 'self' 'sha256-${hash}';`), `the hash of the import map is sha256-${hash}`)
  assert.ok(!policy.includes('unsafe-'))
  assert.equal(page.match(/<script(?![^>]*(src=|importmap))/g), null)
  assert.equal(page.match(/\son\w+=|\sstyle=/g), null)
})

test('the import map holds what the page imports, no more and no less', () => {
  const imported = new Set(sources.flatMap((name) => [...read(name).matchAll(/ from '([^.'][^']*)'/g)].map((m) => m[1])))
  assert.deepEqual(Object.keys(importMap()).sort(), [...imported].sort())
})

test('text never becomes markup', () => {
  for (const name of sources) {
    assert.doesNotMatch(read(name), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser/, name)
  }
})

test('no address of another host is in the page', () => {
  for (const name of [...sources, ...styles, 'index.html']) {
    assert.doesNotMatch(read(name), /https?:\/\//, name)
  }
})

test('every element that the code asks for is in the page', () => {
  const asked = sources.flatMap((name) => [...read(name).matchAll(/\b(?:element|byId|showProblem)\('([\w-]+)'/g)])
  for (const [, id] of asked) assert.ok(page.includes(`id="${id}"`), id)
})

test('text can be read on what lies below it, in light and in dark', () => {
  const [light, dark] = read('style.css').split('@media (prefers-color-scheme: dark)').map(colorsIn)
  for (const colors of [light, { ...light, ...dark }]) {
    for (const below of ['ground', 'paper', 'raised']) {
      for (const text of ['ink', 'quiet', 'good', 'wait', 'bad', 'accent']) enough(colors, text, below)
    }
    for (const below of ['wait-soft', 'bad-soft', 'accent-soft', 'selection']) enough(colors, 'ink', below)
    enough(colors, 'quiet', 'accent-soft')
    enough(colors, 'on-accent', 'accent')
    for (let tint = 0; tint < COLORS.length; tint++) enough(colors, 'on-person', `tint-${tint}`)
    enough(colors, 'strong-line', 'paper', 3)
  }
})

/** @param {string} style @returns {Record<string, string>} */
function colorsIn(style) {
  return Object.fromEntries([...style.matchAll(/--([\w-]+): #(\w+);/g)].map(([, name, value]) => [name, value]))
}

/**
 * @param {Record<string, string>} colors
 * @param {string} text
 * @param {string} below
 * @param {number} least  what WCAG 2.2 asks for at level AA
 */
function enough(colors, text, below, least = 4.5) {
  const [a, b] = [luminance(colors[text]), luminance(colors[below])].sort()
  const contrast = (b + 0.05) / (a + 0.05)
  assert.ok(contrast >= least, `${text} on ${below}: ${contrast.toFixed(2)}`)
}

/** @param {string} hex */
function luminance(hex) {
  const whole = hex.length === 3 ? [...hex].map((digit) => digit + digit).join('') : hex
  const [red, green, blue] = [0, 2, 4].map((at) => {
    const part = parseInt(whole.slice(at, at + 2), 16) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}
