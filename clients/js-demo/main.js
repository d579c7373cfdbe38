/** The first file that runs. It imports nothing, so that it can say so when the libraries are missing. */

const text = /** @type {HTMLElement} */ (document.getElementById('starting-text'))

/** @param {unknown} error */
async function explain(error) {
  const library = await fetch(new URL('vendor/yjs.js', document.baseURI), { method: 'HEAD' }).catch(() => null)
  if (library === null) return 'The server cannot be reached. Reload the page when it is back.'
  if (library.ok) return `The page could not start: ${error instanceof Error ? error.message : error}`
  return 'The libraries of this page are not built yet. Run “make setup” in the project’s folder, then reload.'
}

try {
  const { start } = await import('./app.js')
  await start()
} catch (error) {
  text.textContent = await explain(error)
  text.parentElement?.removeAttribute('hidden')
  console.error(error)
}

export {}
