<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
<pipe>
<rasterrenderer type="singlebandpseudocolor" band="1" opacity="0.7" alphaBand="-1" classificationMin="0"
 classificationMax="1"><rastershader>
<colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0">
<item value="0.00" label="0.0" color="#440154" alpha="255"/>
<item value="0.10" label="0.1" color="#482374" alpha="255"/>
<item value="0.20" label="0.2" color="#404387" alpha="255"/>
<item value="0.30" label="0.3" color="#345e8d" alpha="255"/>
<item value="0.40" label="0.4" color="#29788e" alpha="255"/>
<item value="0.50" label="0.5" color="#20908c" alpha="255"/>
<item value="0.60" label="0.6" color="#22a784" alpha="255"/>
<item value="0.70" label="0.7" color="#44be70" alpha="255"/>
<item value="0.80" label="0.8" color="#79d151" alpha="255"/>
<item value="0.90" label="0.9" color="#bdde26" alpha="255"/>
<item value="1.00" label="1.0" color="#fde724" alpha="255"/></colorrampshader>
</rastershader></rasterrenderer>
</pipe>
</qgis>
