/**
 * Random Yjs documents: several clients that write everything Yjs knows, and hear of each other late,
 * in part, and out of order. The same seed gives the same updates.
 */
import * as prng from 'lib0/prng'
import * as Y from 'yjs'

const TEXTS = ['a', 'plain words', 'é', '€uro', '😀', 'a😀b👩‍👩‍👧', '\u0000', 'ﷺ', '']
const KEYS = ['k', 'title', 'ключ', '']
const BIG_CLIENT = 2 ** 53 - 1

/**
 * @param {prng.PRNG} random
 * @param {number} depth
 * @returns {any}
 */
const anyValue = (random, depth = 0) => {
  const scalars = [
    null, undefined, true, false, 0, -1, 63, -64, 64, 2 ** 31 - 1, -(2 ** 31), 2 ** 31, 2 ** 52,
    1.5, -0.1, NaN, Infinity, 7n, -(2n ** 63n), prng.oneOf(random, TEXTS), new Uint8Array([0, 255, 128])
  ]
  if (depth < 3 && prng.bool(random)) {
    const members = prng.int32(random, 0, 3)
    const values = Array.from({ length: members }, () => anyValue(random, depth + 1))
    return prng.bool(random)
      ? values
      : Object.fromEntries(values.map((value, i) => [prng.oneOf(random, KEYS) + i, value]))
  }
  return prng.oneOf(random, scalars)
}

/**
 * What Yjs takes as a member of a list or map by itself: the rest it takes only inside of something.
 *
 * @param {prng.PRNG} random
 */
const member = random => {
  const value = anyValue(random)
  return value === undefined || typeof value === 'bigint' ? [value] : value
}

/** @param {prng.PRNG} random */
const sharedType = random => prng.oneOf(random, [
  () => new Y.Map([['x', 1]]),
  () => Y.Array.from([1, 'two']),
  () => new Y.Text(prng.oneOf(random, TEXTS)),
  () => new Y.XmlElement('p'),
  () => new Y.XmlElement('абзац'),
  () => new Y.XmlFragment(),
  () => new Y.XmlText('t'),
  () => new Y.XmlHook('hook'),
  () => new Y.Doc({ guid: `sub${prng.int32(random, 0, 99)}`, autoLoad: prng.bool(random), meta: { a: [1, 2] } })
])()

/**
 * @param {prng.PRNG} random
 * @param {Y.Text} text
 */
const editText = (random, text) => {
  const at = prng.int32(random, 0, text.length)
  const rest = prng.int32(random, 0, text.length - at)
  prng.oneOf(random, [
    () => text.insert(at, prng.oneOf(random, TEXTS)),
    () => text.insert(at, 'x'),
    () => text.insert(at, 'b', { bold: true }),
    () => text.delete(at, rest),
    () => text.format(at, rest, { [prng.oneOf(random, ['bold', 'link'])]: prng.oneOf(random, [true, null, { href: 'é' }]) }),
    () => text.insertEmbed(at, { image: prng.oneOf(random, TEXTS) })
  ])()
}

/**
 * @param {prng.PRNG} random
 * @param {Y.Array<any>} array
 */
const editArray = (random, array) => {
  const at = prng.int32(random, 0, array.length)
  prng.oneOf(random, [
    () => array.insert(at, Array.from({ length: prng.int32(random, 1, 4) }, () => member(random))),
    () => array.insert(at, [sharedType(random)]),
    () => array.insert(at, [new Uint8Array([1, 2, 3])]),
    () => array.delete(at, prng.int32(random, 0, array.length - at))
  ])()
}

/**
 * @param {prng.PRNG} random
 * @param {Y.Map<any>} map
 */
const editMap = (random, map) => {
  const key = prng.oneOf(random, KEYS)
  prng.oneOf(random, [
    () => map.set(key, prng.bool(random) ? member(random) : undefined),
    () => map.set(key, sharedType(random)),
    () => map.delete(key)
  ])()
}

/**
 * @param {prng.PRNG} random
 * @param {Y.XmlFragment} xml
 */
const editXml = (random, xml) => {
  const at = prng.int32(random, 0, xml.length)
  prng.oneOf(random, [
    () => xml.insert(at, [prng.oneOf(random, [new Y.XmlElement('div'), new Y.XmlText('text')])]),
    () => xml.delete(at, prng.int32(random, 0, Math.min(1, xml.length - at))),
    () => { const first = xml.get(0); if (first instanceof Y.XmlElement) first.setAttribute('class', 'wide') },
    () => { const first = xml.get(0); if (first instanceof Y.XmlText) editText(random, first) }
  ])()
}

/**
 * @param {prng.PRNG} random
 * @param {Y.Doc} doc
 */
const edit = (random, doc) => prng.oneOf(random, [
  () => editText(random, doc.getText('text')),
  () => editText(random, doc.getText('text')),
  () => editArray(random, doc.getArray('список')),
  () => editMap(random, doc.getMap('map')),
  () => editXml(random, doc.getXmlFragment('xml')),
  () => {
    const nested = [...doc.getMap('map').values(), ...doc.getArray('список').toArray()]
    const type = prng.oneOf(random, [...nested, null])
    if (type instanceof Y.Text) editText(random, type)
    else if (type instanceof Y.Array) editArray(random, type)
    else if (type instanceof Y.Map) editMap(random, type)
  }
])()

/**
 * Everything that a random session emits: edits, catch-ups, whole states, and merges with gaps.
 *
 * @param {number} seed
 * @returns {Array<Uint8Array>}
 */
export const randomUpdates = seed => {
  const random = prng.create(seed)
  /** @type {Array<Uint8Array>} */
  const updates = []
  const docs = Array.from({ length: prng.int32(random, 1, 3) }, (_, i) => {
    const doc = new Y.Doc({ gc: prng.bool(random) })
    doc.clientID = i === 2 ? BIG_CLIENT : prng.uint32(random, 0, 2 ** 32 - 1)
    doc.on('update', (update, origin) => { if (origin !== 'remote') updates.push(update) })
    return doc
  })
  for (let step = prng.int32(random, 3, 25); step > 0; step--) {
    const doc = prng.oneOf(random, docs)
    doc.transact(() => {
      for (let edits = prng.int32(random, 1, 3); edits > 0; edits--) edit(random, doc)
    })
    if (prng.bool(random)) Y.applyUpdate(prng.oneOf(random, docs), prng.oneOf(random, [...updates, Y.encodeStateAsUpdate(doc)]), 'remote')
  }
  const edits = updates.length
  for (const doc of docs) {
    updates.push(Y.encodeStateAsUpdate(doc))
    updates.push(Y.encodeStateAsUpdate(doc, Y.encodeStateVector(docs[0])))
  }
  if (edits > 2) {
    const some = updates.slice(0, edits).filter(() => prng.bool(random))
    if (some.length > 0) updates.push(Y.mergeUpdates(some))
    updates.push(Y.diffUpdate(Y.mergeUpdates(updates.slice(0, edits)), Y.encodeStateVector(docs[0])))
  }
  return updates
}
