"""What people see: a page made of Gradio components, drawn in our own HTML, with no logic of its own.

How a tab is built
------------------
A tab is one module with a `TAB = Tab(key, title, build)`; `shell.TAB_MODULES` lists them. `build(ctx)` runs inside the
tab, makes its components, wires their events, and returns a `Refresh(show, outputs)`: `show(project)` gives new values for
`outputs` whenever another project is opened and whenever the tab is selected (`project` is None while none is open).

`ctx` (tab.Context) is what all tabs share:
    ctx.studio                 the services; the only thing that does anything
    ctx.open_project(values)   the open project, in a handler (raises a StudioError where none is open)
    ctx.notice                 the output that shows toasts: {ctx.notice: forms.notice("Saved.")}
    ctx.downloads.offer(path, filename)   an address for <a href download> of a file that the product made
    ctx.on(trigger, handler, inputs=[...], outputs=[...])       handler(values) -> {component: new value}
    ctx.on_act(element, handler, inputs=[...], outputs=[...])   handler(act, values) -> {component: new value}
                               `on` is for what nobody pressed for: a press that is answered meanwhile keeps what it filled (order.py)
    ctx.local                  whether only this machine reaches the window, so that a typed path is the person's own

Handlers take values keyed by component, make one frozen form of them, call a service, and return only what changed. They
may be generators (each result is shown as it comes). A StudioError becomes a toast with its advice, anything else goes to
logs/studio.log with its traceback; no handler catches errors itself. An
empty dict means that nothing changed. What moves by itself is `Refresh.tick`, asked every 1.5 s while the page is visible; a
StudioError of it is not shown, since nobody asked. Long work is `steps.follow(work)`, which yields (done, total) while it goes on.

All handlers are private to the page; the one documented call for programs is wired with api_visibility="public", api_name="predict".

Our own HTML
------------
`forms.stage("room")` is a gr.HTML whose content Python draws as a string. Use the pieces of `html` (escape, card, note,
badge, table, empty_state, button, local_button, icon, pager ...): they escape their text; nothing else may put a name into
HTML unescaped. Redrawing compares old and new HTML node by node, so focus and scroll stay where they were.
    data-act="name"      sends {act: name, the other data-* of the element, view: JSON of the nearest data-view} to on_act
    data-change="name"   the same for an input, with its value, when it has changed
    form data-act=...    the same on submit, with its fields
    data-do="name"       is answered in the page by studio.local[name] (assets/style/js), "tab" with data-tab opens a tab
Pictures are shown by `routes.thumb_url(project.id, image.id)` and `view_url`, never by path. An empty tab says what is
missing and offers one button: `html.empty_state(...)` with `html.tab_button("Add pictures", "images")`.

Plots are inline SVG drawn in Python: `currentColor` and the tokens (`var(--s-accent)`, `var(--s-ink-3)`, `var(--s-line)`), one
accent, thin lines, direct labels instead of legends, a text alternative in `aria-label`. Colours are tokens of `theme.py`
everywhere (both halves, light and dark); a tab's own rules go into assets/style/css/NN-tab.css (they are served nested below a
selector that outweighs Gradio's reset, see theme.py), its script into assets/style/js/NN-tab.js (`studio.onDraw(room, (element,
html) => ...)` tells it of new HTML); both are picked up in the order of their names.
"""
