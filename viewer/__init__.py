"""The live viewer: a page in the browser that shows a scene, also while it is being fitted.

It knows a fit only through ``recon.fit.session`` and ``recon.fit.events``; the fit does not know the viewer at all.
"""
